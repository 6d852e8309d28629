"""The operations that recurrences are made of: arrays in, arrays out."""
