"""Does an LSTM that names pictures name combinations that it has never seen?"""
