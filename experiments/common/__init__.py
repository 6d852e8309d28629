"""What the experiments share: options, training, results, data, progress, pictures."""

from ._data import DataError as DataError
from ._data import find as find
from ._data import numbers as numbers
from ._data import read_columns as read_columns
from ._fit import Fitted as Fitted
from ._fit import fit as fit
from ._options import Options as Options
from ._picture import save_picture as save_picture
from ._progress import track as track
from ._results import Result as Result
from ._results import Results as Results
from ._results import count as count
from ._run import Run as Run
from ._run import write_whole as write_whole
