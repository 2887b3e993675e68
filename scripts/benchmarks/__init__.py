"""The same training in several libraries, timed in turn, and measurements of gpunn alone.

Each competitor has its own process, so that libraries don't share thread pools. Only one works at a
time, in turns (A B C, A B C, ...). All cells of a table are measured once before any is
measured again, so that a slow moment of the machine doesn't affect only one competitor.

All train the same network from the same weights with the same number of threads. Data are in
memory, rows are shuffled in each epoch and cut to whole batches, and loss and metrics are read at
the end of an epoch. Building the network and placing the data are not timed. The first epoch, with
compilation and first uses of memory, is reported separately. The modules::

    commands      all subcommands                    competitors   the libraries
    step_times    time training steps                adapters/     how each library trains
    comparisons   compare on MNIST                   worker, jobs  a competitor's process
    footprint     start, disk, memory                work, mnist   networks and data
    options       options of all subcommands         realistic     typical networks
    session       processes and their turns          figures       medians, ratios, tables
    fma           the processor's FMA peak           machine       its description
    wheel, estimators, searches, tables, memory, overhead, custom_classes    other measurements
"""
