"""The same training in several libraries, timed side by side; and what gpunn alone is measured by.

Each competitor lives in a process of its own, so that no library's thread pool shares one with
another's, and one of them works at a time. They take turns (A B C, A B C, ...), and all cells of a
table are visited once before any is visited again, so that no slow spell of the machine falls on
one competitor only.

Everybody trains the same network from the same weights: float32, ReLU, softmax cross-entropy, no
weight decay and no momentum, a fresh shuffle of the rows in every epoch, data resident in memory,
the epoch's loss read at its end, the same number of threads. Rows are cut to whole batches.
Building the network and placing the data are not timed; the first epoch, with compilation and first
touches of memory, is reported apart.

    comparisons   the subcommands that compare       competitors   who competes
    options       theirs, and what all of them do    adapters/     how each library is driven
    session       processes, and whose turn it is    worker, jobs  a competitor's process
    figures       medians, ratios, tables            work, mnist   what is trained
    estimators, initial_values, memory, overhead     the other subcommands
"""
