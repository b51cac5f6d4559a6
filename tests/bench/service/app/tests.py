"""What the tests of the service check."""

from unittest import TestCase

from app.main import app


class Dishes(TestCase):
    def test_they_are_told(self):
        self.assertEqual(app.test_client().get("/dishes").json, ["dal", "rice", "roti"])
