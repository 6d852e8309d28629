"""What does a GRU read in DNA: splice junctions, and the next base of a genome?"""
