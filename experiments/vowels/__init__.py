"""Who of nine speakers says two vowels, in 7 to 29 frames?"""
