#!/bin/sh
# wheel.sh PYTHON VENV: install dist/*.whl into a new VENV, and lay the tests into VENV/tree beside nothing else.
# Tests that read the package's own files find the installed ones.
set -eu
python=$1 venv=$2
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt \
	"$(echo dist/*.whl)[test]"
mkdir "$venv/tree"
git ls-files | grep -v -e '^alhena_async/' -e '^pytest_alhena.py' | tar --create --files-from=- | tar --extract --directory="$venv/tree"
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ln -s "$packages/alhena_async" "$packages/pytest_alhena.py" "$venv/tree"
