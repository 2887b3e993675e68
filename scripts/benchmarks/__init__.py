"""The same training in several libraries, timed side by side; and what gpunn alone is measured by.

Each competitor lives in a process of its own, so that no library's thread pool shares one with
another's, and one of them works at a time. They take turns (A B C, A B C, ...), and all cells of a
table are visited once before any is visited again, so that no slow spell of the machine falls on
one competitor only.

Everybody trains the same network from the same weights, with a fresh shuffle of the rows in every
epoch, data resident in memory, loss and metrics read at the epoch's end, and the same number of
threads. Rows are cut to whole batches. Building the network and placing the data are not timed; the
first epoch, with compilation and first touches of memory, is reported apart.

    commands      all subcommands                    competitors   who competes
    step_times    those that time training steps     adapters/     how each library is driven
    comparisons   those that compare on MNIST        worker, jobs  a competitor's process
    footprint     start, disk, memory                work, mnist   what is trained
    options       theirs, and what all of them do    realistic     the networks of two of them
    session       processes, and whose turn it is    figures       medians, ratios, tables
    wheel, estimators, tables, memory, overhead     what does not take turns
"""
