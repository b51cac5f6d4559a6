# Compose: docker-compose is Debian's (version 1), or tiffin compose.
. "$LIB"
export COMPOSE_PROJECT_NAME=app COMPOSE_HTTP_TIMEOUT=60
C=docker-compose

printf 'FILED=from a file\n' > web.env
printf 'GREETING=hello\n' > .env
mkdir made && printf 'FROM minimal\nARG WHAT\nRUN echo "made $WHAT" > /made\n' > made/Dockerfile
cat > docker-compose.yml <<'END'
version: "2.4"
x-idle: &idle ["sh", "-c", "echo begun; trap 'exit 3' TERM; while :; do sleep 0.1; done"]
services:
  web:
    image: minimal
    command: *idle
    environment: {GREETING: "${GREETING}", FALLBACK: "${NOTHING:-given}"}
    env_file: web.env
    labels: {tier: front}
    volumes: ["data:/data", "./made:/here:ro"]
    networks: {default: {aliases: [www]}}
    depends_on: {db: {condition: service_healthy}}
  db:
    image: minimal
    command: ["sh", "-c", "sleep 0.3; touch /ready; exec sleep 1000"]
    healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 0.2s, retries: 50}
    stop_grace_period: 1s
  made:
    image: app-made
    build: {context: made, args: {WHAT: here}}
    command: cat /made
    scale: 0
volumes:
  data: {labels: {kept: for-now}}
END

# -- what a file says
equal "config names the services" "db made web" "$($C config --services | sort | tr '\n' ' ' | sed 's/ $//')"
equal "config names the volumes" "data" "$($C config --volumes)"
contains "config fills in variables" "GREETING: hello" "$($C config)"
fails "a service that is not there is told" 1 "o such service" $C up -d nosuch

# -- up
succeeds "build makes what has a Dockerfile" $C build made
succeeds "up -d begins all" $C up -d
web=$($C ps -q web) db=$($C ps -q db)
equal "ps -q shows a whole id" 64 "$(printf %s "$web" | wc -c | tr -d ' ')"
docker inspect -f '{{.State.Health.Status}}' "$db" > seen
equal "what another waited for is healthy" "healthy" "$(cat seen)"
form='{{index .Config.Labels "com.docker.compose.project"}} {{index .Config.Labels "com.docker.compose.service"}} {{.Config.Labels.tier}}'
equal "containers have compose's labels and their own" "app web front" "$(docker inspect -f "$form" "$web")"
$C exec -T web sh -c 'echo $GREETING $FALLBACK; echo $FILED; echo kept > /data/f; ls /here; ping -c 1 -W 2 db > /dev/null && echo reached' > seen
equal "variables come from .env and defaults" "hello given" "$(sed -n 1p seen)"
equal "env_file gives variables" "from a file" "$(sed -n 2p seen)"
equal "a relative path is that of the file's folder" "Dockerfile" "$(sed -n 3p seen)"
equal "services reach each other by name" "reached" "$(sed -n 4p seen)"
succeeds "an alias is a name, too" $C exec -T db ping -c 1 -W 2 www
fails "exec ends as its command does" 4 "" $C exec -T web sh -c 'exit 4'
contains "logs have the output" "begun" "$($C logs --no-color web)"
contains "a volume has the project's name" "app_data" "$(docker volume ls -q --filter label=kept=for-now)"
contains "a network, too" "app_default" "$(docker network ls --format '{{.Name}}')"

# -- one-off containers
equal "run --rm prints what the command prints" "once hello" "$($C run --rm --no-deps -T web sh -c 'echo once $GREETING' 2> /dev/null)"
fails "run ends as its command does" 5 "" $C run --rm --no-deps -T web sh -c 'exit 5'
equal "an image that was built is run" "made here" "$($C run --rm -T made 2> /dev/null)"
equal "run --rm leaves nothing" "" "$(docker ps -aq --filter label=com.docker.compose.oneoff=True)"

# -- changes
succeeds "up -d again" $C up -d
equal "up leaves alone what did not change" "$web" "$($C ps -q web)"
GREETING=bye $C up -d 2> /dev/null
lacks "up makes anew what changed" "$web" "$($C ps -q web)"
equal "up leaves alone what another depends on" "$db" "$($C ps -q db)"
equal "what is new has the new variable" "bye" "$($C exec -T web sh -c 'echo $GREETING')"
equal "a volume keeps what is in it" "kept" "$($C exec -T web cat /data/f)"
GREETING=bye $C up -d --scale web=2 2> /dev/null
equal "--scale begins more" "2" "$($C ps -q web | wc -l | tr -d ' ')"
GREETING=bye $C up -d --scale web=1 2> /dev/null
equal "--scale ends some" "1" "$($C ps -q web | wc -l | tr -d ' ')"

# -- life
web=$($C ps -q web)
$C stop -t 5 web 2> /dev/null
equal "stop asks by a signal" "exited 3" "$(docker inspect -f '{{.State.Status}} {{.State.ExitCode}}' "$web")"
$C start web > /dev/null 2>&1
began=$(docker inspect -f '{{.State.StartedAt}}' "$web")
equal "start starts what was stopped" "true" "$(docker inspect -f '{{.State.Running}}' "$web")"
$C restart -t 5 web 2> /dev/null
lacks "restart begins it once more" "$began" "$(docker inspect -f '{{.State.StartedAt}}' "$web")"
$C kill db 2> /dev/null
eventually "kill ends at once" sh -c "docker inspect -f '{{.State.ExitCode}}' $db | grep -qx 137"
$C rm -f db > /dev/null 2>&1
fails "rm removes what has ended" 1 "No such" docker inspect "$db"

# -- down
succeeds "down" $C down -t 1
equal "down removes containers" "" "$(docker ps -aq --filter label=com.docker.compose.project=app)"
lacks "down removes networks" "app_default" "$(docker network ls --format '{{.Name}}')"
contains "down leaves volumes" "app_data" "$(docker volume ls -q)"
succeeds "down -v" $C down -v
lacks "down -v removes volumes" "app_data" "$(docker volume ls -q)"
