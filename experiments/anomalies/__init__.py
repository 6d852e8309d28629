"""Does a GRU find sensor faults in a stream better than statistics and regression do?"""
