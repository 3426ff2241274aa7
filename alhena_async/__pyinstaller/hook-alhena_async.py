"""What PyInstaller has to take along of this package: the browser's script, the emulator's page."""

from PyInstaller.utils.hooks import collect_data_files

datas = collect_data_files("alhena_async")
