"""A page with the dishes of the day, and the same as JSON."""

from flask import Flask, jsonify, send_from_directory

from app.dishes import dishes

app = Flask(__name__)


@app.get("/dishes")
def show():
    return jsonify(dishes())


@app.get("/")
def page():
    return send_from_directory("/srv/static", "index.html")
