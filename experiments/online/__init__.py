"""Can a network learn from a stream, sample by sample, without storing the past?"""
