# The app on port 8501. The CUDA wheels of torch are installed; run with --gpus all to use a GPU.
FROM python:3.12-slim

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    HF_HUB_OFFLINE=1 \
    STREAMLIT_SERVER_HEADLESS=true \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_PORT=8501 \
    STREAMLIT_SERVER_FILE_WATCHER_TYPE=none \
    STREAMLIT_CLIENT_SHOW_ERROR_DETAILS=none \
    STREAMLIT_BROWSER_GATHER_USAGE_STATS=false

WORKDIR /srv/coconut
COPY requirements.txt .
RUN pip install -r requirements.txt

# The user may write runs/, which is a volume, and nothing else here.
COPY . .
RUN useradd --create-home --uid 1000 coconut && mkdir -p runs && chown -R coconut:coconut runs
USER coconut
VOLUME /srv/coconut/runs

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

CMD ["python", "-m", "streamlit", "run", "app/main.py"]
