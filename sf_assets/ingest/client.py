"""Creates the API client from the settings."""

from __future__ import annotations

from pydantic import SecretStr

from sf_assets.settings import Settings
from sf_assets.social_fetch import SocialFetchClient


def client_of(
    settings: Settings, *, max_tries: int = 6, max_wait: float = 60, deadline: float = 120
) -> SocialFetchClient:
    """An API client, not yet opened. Raises SettingsError without a key for the real API."""
    key = settings.key() if settings.simulated else settings.require_key()
    return SocialFetchClient(
        api_key=key or SecretStr("sfk_sim"),
        base_url=settings.base_url,
        deadline=deadline,
        max_tries=max_tries,
        max_wait=max_wait,
        concurrency=settings.concurrency,
        headers={"X-Sim-Day": settings.today.isoformat()} if settings.today else None,
    )
