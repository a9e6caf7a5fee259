"""Social Fetch's TikTok follower and following lists: models, client, errors, pagination.

async with SocialFetchClient(api_key=SecretStr("sfk_...")) as client:
    answer = await client.list_page("followers", "nasa")
    print(answer.response.data.total, answer.response.data.accounts[0].handle)
"""

from . import lean_httpx  # noqa: F401, I001 - before any other module imports httpx
from . import client, errors, models, pages, pagination, quick
from .client import *  # noqa: F403 - `__all__` of each module has its public names
from .errors import *  # noqa: F403
from .models import *  # noqa: F403
from .pages import *  # noqa: F403
from .pagination import *  # noqa: F403
from .quick import *  # noqa: F403

__all__: list[str] = []
__all__ += client.__all__
__all__ += errors.__all__
__all__ += models.__all__
__all__ += pages.__all__
__all__ += pagination.__all__
__all__ += quick.__all__
