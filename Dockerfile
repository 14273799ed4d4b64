# The app for strangers on port 8501 (docs/hosting.md). For a server of your own, a newer base image can be ruled out by
# its digest: `docker buildx imagetools inspect python:3.11-slim`, then FROM python:3.11-slim@sha256:...
FROM python:3.11-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HUB_OFFLINE=1 \
    COCONUT_HOSTED=1 \
    STREAMLIT_SERVER_HEADLESS=true \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_PORT=8501 \
    STREAMLIT_SERVER_FILE_WATCHER_TYPE=none \
    STREAMLIT_SERVER_MAX_UPLOAD_SIZE=100 \
    STREAMLIT_CLIENT_SHOW_ERROR_DETAILS=none \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false

WORKDIR /srv/coconut
COPY requirements.lock requirements-cuda.lock ./
# Everything by its hash. From the index that pip knows, torch is built for CUDA (run with --gpus all) and needs NVIDIA's
# libraries; given an index with +cpu builds (--build-arg WHEELS=its address) there is nothing to add.
ARG WHEELS=""
RUN PIP_EXTRA_INDEX_URL="$WHEELS" pip install --require-hashes --no-deps -r requirements.lock \
    && if [ -z "$WHEELS" ]; then pip install --require-hashes --no-deps -r requirements-cuda.lock; fi

# The user may write runs/, which is a volume, and nothing else here.
COPY . .
RUN useradd --create-home --uid 1000 coconut && mkdir -p runs && chown -R coconut:coconut runs
USER coconut
VOLUME /srv/coconut/runs

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

CMD ["python", "-m", "streamlit", "run", "app/main.py"]
