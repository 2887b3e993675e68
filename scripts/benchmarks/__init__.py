"""The same training in several libraries, timed side by side.

How a figure is taken. Each competitor lives in a process of its own, so that no library's thread
pool shares one with another's, and one of them works at a time. They take turns (A B C, A B C,
...), and all cells of a table are visited once before any is visited again, so that no slow spell
of the machine falls on one competitor only. A reference product is timed between turns: a turn
with a slow one on either side, or beside other work, is not quiet. Figures are medians and minima
over the quiet turns; competitors without one in a cell are given more, and a figure still without
one is marked "~".

What is done. Everybody trains the same network from the same weights: float32, ReLU, softmax
cross-entropy, no weight decay and no momentum, a fresh shuffle of the rows in every epoch, data
resident in memory, the epoch's loss read at its end, the same number of threads. Rows are cut to
whole batches. Building the network and placing the data are not timed; the first epoch, with
compilation and first touches of memory, is reported apart.

    command     options and output            catalogue   who competes
    work        what is trained               adapters/   how each library is driven
    jobs        what one process can be asked modes/      one table each
    worker      that process                  figures     medians and minima of quiet turns
    process     the other end of it           verdict     ratios and geometric means
    quietness   the watch over the machine    table       plain text
    session     whose turn it is
"""
