"""Where does a GRU forecast better than simple methods: load, weather, prices?"""
