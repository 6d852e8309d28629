"""How well does a small LSTM, trained for minutes on a CPU, predict text?"""
