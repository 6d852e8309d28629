"""Does a GRU over frames know which way things move, and not only which things they are?"""
