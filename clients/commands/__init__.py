"""One module per subcommand of ``facodec``: ``add_arguments(parser)`` and ``run(args)``.

A module is imported only when its command is used; what is slow to import, torch above all, is
imported inside ``run``.
"""
