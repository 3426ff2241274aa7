#!/bin/sh
# Usage: old-sqlites.sh DIRECTORY PYTHON. Builds old releases of SQLite into the directory, and prints
# "VERSION LIBRARY" for each that this Python can be run with (LD_PRELOAD). The sources are those that npm's
# package `sqlite3` carries: 3.26 as on RHEL 8, the journal's floor, 3.31 as on Ubuntu 20.04, 3.34 as on
# RHEL 9. Says on standard error which cannot be had, and why: those are skipped.
directory=$1 python=$2
for tool in npm cc; do
    if ! command -v $tool >/dev/null 2>&1; then
        echo "no $tool here to build old releases of SQLite with: skipped" >&2
        exit 0
    fi
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Compiles the sources that a release of the package carries.
built() {
    mkdir -p "$directory" "$work/$2" &&
        (cd "$work/$2" && npm pack --silent "sqlite3@$1" >/dev/null && tar xzf ./*.tgz &&
            tar xzf package/deps/sqlite-autoconf-*.tar.gz --strip-components=1) &&
        cc -O1 -w -fPIC -shared -DSQLITE_ENABLE_JSON1 -DSQLITE_ENABLE_DESERIALIZE \
            "$work/$2/sqlite3.c" -o "$work/$2/built" -lpthread -ldl -lm && mv "$work/$2/built" "$3"
}

for pair in 4.0.6:3.26.0 4.2.0:3.31.1 5.0.2:3.34.0; do
    version=${pair#*:}
    library=$directory/sqlite-$version.so
    if ! [ -e "$library" ] && ! built "${pair%:*}" "$version" "$library" 2>"$work/why"; then
        echo "SQLite $version cannot be built ($(tail -n 1 "$work/why")): skipped" >&2
        continue
    fi
    found=$(LD_PRELOAD=$library "$python" -c 'import sqlite3; print(sqlite3.sqlite_version)')
    if [ "$found" = "$version" ]; then
        echo "$version $library"
    else
        echo "SQLite $version: this Python has its own, ${found:-and cannot do with it}: skipped" >&2
    fi
done
