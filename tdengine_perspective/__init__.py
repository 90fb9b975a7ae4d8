"""What carries the two stories, producer.py and perspective_server.py: a room a job.

Each room keeps a promise, and imports lead from the bottom of this list to its top, never back:

    dsn             where TDengine is, in one line, with its login
    certificates    who vouches for TDengine, where it speaks TLS
    settings        the environment as one frozen object; bad input gets one line
    addresses       the addresses that are printed
    tables          which tables a server keeps, each with settings of its own
    rest            asking TDengine over REST, directly
    tdengine        reaching TDengine; an error is one line that says what to do
    spelling        a name that is there in other letters, capital or small
    children        processes that may be killed, and the watchdog in them: nothing hangs for ever
    terminal        what the producer prints, and the signals that end it

    ownership       nothing destroyed: what the producer refuses to write into
    writing         nothing lost: a batch counts once TDengine has taken it

    engine          what Perspective's engine needs of the process, and its memory
    mirror/         the mirror, and that it never needs a hand:
      schema        a table's columns on both sides
      slots         the rows on display, and the difference to what was read
      window        the newest ones, by their age
      result        the columns of what a SELECT answers
      messages      what the reader process tells the server
      notices       what viewers are told of the rows that they do not see
      reading       a table's columns and rows, and when all of these are read
      reader        what to read when: the newest rows,
      latest        the latest row of each subtable,
      query         or what a SELECT answers
      topics        what pushing leaves in TDengine, and its removal
      subscription  what TDengine pushes, and the process that hears it
      polling       the beat of the reader process
      state         live or stale, since when, and why
      process       starting that process anew
      table         the Perspective table that follows

    gate/           look, don't touch:
      protocol      the messages that a reader needs
      expressions   what may be computed
      rules         what may be asked
      describe      the page that lists what may be computed
      refusals      the log of what was not
      admission     who may connect: host, origin, token
      allowance     so much a second
      conversation  talking to the engine, and the views in it
      copies        views made anew, where the engine does not keep them true
      shared_views  one view for all who look at the same
      viewers       who is connected
      sessions      one viewer's views and subscriptions, and their limits
      websocket     one viewer's WebSocket, and its share of the server

    history/        the look back, computed by TDengine:
      words         why something is not answered
      spans         the times that can be looked back at
      terms         a column in a SELECT, and its values
      literals      a viewer's texts and numbers in SQL
      filters       which rows
      aggregates    what of a group
      calendar      days, months and years in SQL
      expressions   the expressions, as SQL
      views         what a view asks for
      grouped       its groups
      flat          its rows
      arrow         how they are handed over
      handler       what Perspective's virtual server asks
      messages      what the server and its processes that look back tell each other
      asking        one question at a time, in a process of its own
      ending        a query that takes too long
      questions     whose turn it is, and what is known already
      workers       starting the asking processes anew
      sessions      one viewer's views, each on its own, and their limits
      answering     the process that answers all viewers
      process       starting that process anew, with the views that there were
      websocket     one viewer's WebSocket to the past

    layout_forms    what layouts of other versions call the same
    layouts         the layout file
    dashboards      or each of a folder's, read anew when it changes
    metrics         what it does and how it is, for Prometheus
    web             no internet: the page and its files from here; /health; listening
    downloads       a table as CSV and Arrow
"""
