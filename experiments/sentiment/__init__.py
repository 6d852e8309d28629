"""Does a bidirectional GRU judge sentences better than counts of their words and pairs?"""
