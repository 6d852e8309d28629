"""Does a network that remembers three bits keep each memory in a stable fixed point?"""
