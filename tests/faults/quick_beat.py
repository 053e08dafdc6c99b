"""The house's Celery application as it is, but that beat asks for the newsletter twice a second: nobody waits a minute
in a test. `celery -A tests.faults.quick_beat beat`"""

from datetime import timedelta

import workers.app

workers.app.NEWSLETTER_EVERY = timedelta(seconds=0.5)
app = workers.app.app
