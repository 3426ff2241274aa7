# The emulator for tests in containers: docs/emulator.md. `make build` puts the wheel into dist/ first.
FROM python:3.13-slim

COPY dist/alhena_async-*.whl /tmp/
RUN python -m pip install --no-cache-dir "$(echo /tmp/alhena_async-*.whl)[cli]"

USER 65534:65534
EXPOSE 8787
HEALTHCHECK CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 8787), 2).close()"]
ENTRYPOINT ["alhena", "emulate", "--expose"]
