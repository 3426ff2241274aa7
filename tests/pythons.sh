#!/bin/sh
# Prints "VERSION INTERPRETER" for each Python from 3.11 on that this machine has: on the path, among
# pyenv's or among uv's. Says on standard error which it has not: those are skipped.
for version in 3.11 3.12 3.13 3.14; do
    found=""
    for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python \
        "$(uv python find --no-python-downloads "$version" 2>/dev/null)"; do
        if "$python" -c "import ensurepip" >/dev/null 2>&1; then
            found=$python
        fi
    done
    if [ -n "$found" ]; then
        echo "$version $found"
    else
        echo "Python $version: not on this machine, neither on the path nor in pyenv or uv: skipped" >&2
    fi
done
