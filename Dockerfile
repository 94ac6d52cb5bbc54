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
RUN /venv/bin/pip install --no-cache-dir -c constraints.txt '.[examples]' && /venv/bin/pip uninstall --yes pip

FROM python:3.12-slim
# No installer is left, and volumes mounted below /var/lib/payments come to belong to the user who writes there.
RUN python -m pip uninstall --yes --root-user-action=ignore pip \
    && useradd --uid 10001 --no-log-init --create-home payments \
    && install -d -o payments -g payments /var/lib/payments/authority /var/lib/payments/gateways /var/lib/payments/mails
COPY --from=build /venv /venv
COPY run_worker.py /app/
COPY examples /app/examples
WORKDIR /app
USER payments
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
STOPSIGNAL SIGTERM
CMD ["python", "run_worker.py", "worker"]
