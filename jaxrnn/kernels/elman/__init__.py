"""The specification of the kernel; its code is in `kernels/native/`."""
