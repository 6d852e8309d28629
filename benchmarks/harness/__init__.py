"""Times contenders side by side: one worker process each, one of them awake at a time.

The harness knows neither the contenders nor their tasks. A contender is an object that
`module:function` returns in its worker process (`worker.Contender`), a task is a name, its
figures, and a dictionary that the contenders understand (`trial.Task`).
"""
