# The worker, the ingestor, the simulators and the examples: one image, started with different commands.
FROM python:3.12-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY setup.cfg pyproject.toml constraints.txt README.md run_worker.py ./
COPY messages messages
COPY ledger ledger
COPY gateways gateways
COPY handlers handlers
COPY consumers consumers
COPY webhooks webhooks
COPY simulators simulators
COPY ops ops
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt '.[examples]'

FROM python:3.12-slim
RUN useradd --system --uid 10001 --create-home payments
COPY --from=build /venv /venv
COPY run_worker.py /app/
COPY examples /app/examples
WORKDIR /app
USER payments
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
CMD ["python", "run_worker.py", "worker"]
