"""The command line: `main` is the entry point, one file per group of commands, `render` the layouts."""
