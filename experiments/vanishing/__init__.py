"""Where does the gradient vanish or explode, and which remedy brings it back?"""
