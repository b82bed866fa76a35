# One image for every process: `muster control-plane`, `gateway`, `worker`, `migrate`. No secret is ever built in.

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/muster
COPY requirements/base.txt /tmp/base.txt
# Exactly the locked files: a package with another hash ends the build.
RUN /opt/muster/bin/pip install --require-hashes --no-deps --only-binary :all: -r /tmp/base.txt
# Our packages need no build step, so the image needs no build tool. The embedded stack is not for servers.
COPY protos /opt/muster/lib/python3.11/site-packages/protos
COPY control_plane /opt/muster/lib/python3.11/site-packages/control_plane
COPY scim_gateway /opt/muster/lib/python3.11/site-packages/scim_gateway
COPY workers /opt/muster/lib/python3.11/site-packages/workers
RUN rm -rf /opt/muster/lib/python3.11/site-packages/control_plane/devstack \
    && printf '#!/opt/muster/bin/python\nfrom control_plane.__main__ import main\n\nmain()\n' > /opt/muster/bin/muster \
    && chmod 0755 /opt/muster/bin/muster \
    && /opt/muster/bin/python -m compileall -q /opt/muster/lib/python3.11/site-packages

FROM python:3.11-slim
RUN groupadd --system --gid 10001 muster \
    && useradd --system --uid 10001 --gid muster --no-create-home --shell /usr/sbin/nologin muster
COPY --from=build /opt/muster /opt/muster
# The root file system may be read-only: nothing is written beside the code.
ENV PATH=/opt/muster/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# What `muster certs` writes, and where control planes write checkpoints; a volume mounted there takes over the owner.
RUN mkdir -p /certs/ca /certs/control-plane-1 /certs/gateway-1 /certs/worker-1 /certs/admin-1 /audit \
    && chown -R 10001:10001 /certs /audit
USER 10001:10001
# Inside a container the loopback default would be unreachable.
ENV MUSTER_CONTROL_PLANE_LISTEN=0.0.0.0:50051 MUSTER_GATEWAY_LISTEN=0.0.0.0:8080 MUSTER_METRICS_LISTEN=0.0.0.0:9100
EXPOSE 50051 8080 9100
STOPSIGNAL SIGTERM
ENTRYPOINT ["muster"]
CMD ["--help"]
