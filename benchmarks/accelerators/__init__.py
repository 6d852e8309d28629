"""Compiles the library for TPUs and GPUs on a machine that has neither.

XLA compiles for a device that it only knows by its description. Such a program shows which
operations run in a loop, what stays in fast memory, and how much temporary memory it takes.
It gives no time: nothing here runs on an accelerator.
"""
