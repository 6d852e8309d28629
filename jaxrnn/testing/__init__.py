"""The laws of the library, as functions to run on layers and strategies of your own."""

from ._compare import LawBroken as LawBroken
from ._compare import assert_close as assert_close
from ._dtypes import check_dtypes as check_dtypes
from ._dtypes import check_inputs as check_inputs
from ._export import check_export as check_export
from ._gradient import check_gradient as check_gradient
from ._laws import check_cell as check_cell
from ._laws import check_chunks as check_chunks
from ._laws import check_padding as check_padding
from ._laws import check_protocol as check_protocol
from ._laws import check_retracing as check_retracing
from ._laws import check_strategy as check_strategy
from ._laws import check_transformations as check_transformations
from ._laws import check_unroll as check_unroll
from ._mesh import WAYS as WAYS
from ._mesh import check_mesh as check_mesh
from ._nan import check_nan as check_nan
from ._reference import reference as reference
from ._world import check_copies as check_copies
from ._world import check_debug_nans as check_debug_nans
from ._world import check_descent as check_descent
from ._world import check_disable_jit as check_disable_jit
from ._world import check_donation as check_donation
from ._world import check_numpy as check_numpy
