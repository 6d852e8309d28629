"""Times contenders side by side: one worker process each, one of them awake at a time.

The harness knows neither the contenders nor their tasks. A task is a name, its figures, and
a `spec`, a dictionary that contenders understand (`trial.Task`). A contender is an object
that `module:function` returns in its worker process. It has `prepared`, which is true while
a task is ready to run, and these methods, whose answers are JSON objects:

    hello()                     title, version, absent: why it cannot run here,
                                spins: whether it must be prepared alone
    accept(spec)                computes: the variant of the task, or refused: why not
    prepare(spec, computes,     gate: {red: names, shown: text}, and whatever else is to
      reference, compiled)      be stored; without a reference the gate was green before
    run(figure)                 runs one call of the prepared task
    memory(spec, computes)      resident memory, in a process that has done nothing else
    release()                   forgets the task

A solver has `hello()`, whose answer describes the device, and `solve(spec, computes, path)`,
which writes the reference that contenders are gated by.
"""
