"""Can a network that keeps its state through a conversation answer a line with a line?"""
