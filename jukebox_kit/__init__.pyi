from .analysis import (
    FeatureSettings as FeatureSettings,
)
from .analysis import (
    ScoreSettings as ScoreSettings,
)
from .analysis import (
    features as features,
)
from .analysis import (
    score as score,
)
from .engine import Model as Model
from .errors import JukeboxKitError as JukeboxKitError
from .song import Song as Song
from .song import save_audio as save_audio
from .sources import SourceRequest as SourceRequest
from .sources import SourceRun as SourceRun
from .sources import generate_recordings as generate_recordings
from .steps import (
    Progress as Progress,
)
from .steps import (
    RunSettings as RunSettings,
)
from .steps import (
    generate as generate,
)
from .steps import (
    level_0 as level_0,
)
from .steps import (
    level_1 as level_1,
)
from .steps import (
    level_2 as level_2,
)
from .steps import (
    sample as sample,
)
from .steps import (
    upsample as upsample,
)
