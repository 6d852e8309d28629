"""Does a small GRU recognize spoken digits, of known speakers, of new ones, and in strings?"""
