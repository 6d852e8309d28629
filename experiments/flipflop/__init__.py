"""Where does a GRU that remembers three bits keep them: in a stable fixed point each?"""
