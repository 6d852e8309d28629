"""Which recurrence predicts text best with the same number of parameters?"""
