"""Can a recurrent network read and write characters by the movement of the pen?"""
