# The app in a container, for any user, with a webcam and a virtual camera passed in; see docs/reliability.md#containers.
#   docker build -t avatarify .                              for the CPU
#   docker build -t avatarify --build-arg NVIDIA=1 .         for NVIDIA GPUs
FROM debian:trixie-slim
ARG NVIDIA=0

# Python, and the libraries that OpenCV's windows and the face tracker ask for
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        libegl1 libgl1 libgles2 libglib2.0-0t64 python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY . .
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir --requirement requirements.txt \
    && if [ "$NVIDIA" = 1 ]; then \
        pip uninstall --yes onnxruntime && pip install --no-cache-dir --requirement requirements-gpu.txt; \
    fi \
    && chmod -R a+rX /app /opt/venv

ENTRYPOINT ["python", "/app/run.py"]
CMD ["--help"]
