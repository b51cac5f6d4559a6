# Volumes, networks between containers, ports.
. "$LIB"
serve='mkdir -p /www; echo served >/www/page; exec httpd -f -h /www -p 80'
fetch() { printf 'for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://%s/page && exit; sleep 0.3; done' "$1"; }
anonymous='^[0-9a-f]{64}$'

# -- volumes
equal "volume create prints the name" "data" "$(docker volume create --label kind=test data)"
equal "volume create again is fine" "data" "$(docker volume create data)"
docker volume create > name
matches "volume create makes up a name" "$anonymous" "$(cat name)"
succeeds "volume rm takes it" docker volume rm "$(cat name)"
equal "volume ls has docker's columns" "DRIVER    VOLUME NAME
local     data" "$(docker volume ls | sed 's/ *$//' | grep -v -E ' [0-9a-f]{64}$')"
equal "volume ls -q prints names" "data" "$(docker volume ls -q)"
equal "volume ls filters labels" "data" "$(docker volume ls -q -f label=kind=test)"
equal "volume ls filters names" "" "$(docker volume ls -q -f name=nothing)"
equal "volume ls takes a template" "data/local/local" "$(docker volume ls --format '{{.Name}}/{{.Driver}}/{{.Scope}}')"
equal "volume inspect tells labels" "test" "$(docker volume inspect -f '{{index .Labels "kind"}}' data)"
equal "volume inspect tells name and scope" "data local" "$(docker volume inspect -f '{{.Name}} {{.Scope}}' data)"
matches "volume inspect tells the time" '^20[0-9-]+T[0-9:]+(Z|[+-])' "$(docker volume inspect -f '{{.CreatedAt}}' data)"
fails "volume inspect of a missing one fails" 1 "o such volume" docker volume inspect nosuch
fails "volume rm of a missing one fails" 1 "o such volume" docker volume rm nosuch
succeeds "volume rm -f of a missing one does not" docker volume rm -f nosuch
fails "a name may not have a slash" 1 "invalid characters" docker volume create a/b
docker run --rm -v data:/d minimal sh -c 'echo kept >/d/file'
equal "a volume outlives its container" "kept" "$(docker run --rm -v data:/e:ro minimal cat /e/file)"
fails "a read-only volume is not written" 1 "Read-only" docker run --rm -v data:/e:ro minimal touch /e/x
equal "a new volume has what the image has" "page" "$(docker run --rm -v fresh:/srv minimal ls /srv)"
equal "nocopy leaves it empty" "" "$(docker run --rm --mount type=volume,source=bare,target=/srv,volume-nocopy minimal ls /srv)"
docker create --name holder -v data:/d minimal true > id
fails "a volume in use is not removed" 1 "volume is in use - [$(cat id)]" docker volume rm data
equal "dangling=false lists it" "data" "$(docker volume ls -q -f dangling=false)"
equal "ps filters by volume" "holder" "$(docker ps -a -f volume=data --format '{{.Names}}')"
equal "inspect tells the mount" "volume data /d true" \
    "$(docker inspect -f '{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.RW}}{{end}}' holder)"
docker rm -v holder > /dev/null
equal "rm -v leaves volumes that have a name" "data" "$(docker volume ls -q -f name=data)"
docker volume rm fresh bare > /dev/null
docker run --name holder -v /own minimal sh -c 'echo x >>/own/x'
matches "an anonymous volume is listed" "$anonymous" "$(docker volume ls -q -f dangling=false)"
docker start -a holder
equal "it is the same at the next start" "2" "$(docker run --rm --volumes-from holder minimal sh -c 'wc -l </own/x')"
docker rm -v holder > /dev/null
equal "rm -v removes it" "data" "$(docker volume ls -q)"
docker run --rm -v /own minimal true
equal "run --rm leaves none" "data" "$(docker volume ls -q)"
equal "volume rm prints the name" "data" "$(docker volume rm data)"

# -- networks
matches "network create prints an id" "$anonymous" "$(docker network create --label kind=test back)"
fails "a name is given once" 1 "network with name back already exists" docker network create back
equal "network ls tells those that are always there" "bridge bridge
host host
none null" "$(docker network ls -f type=builtin --format '{{.Name}} {{.Driver}}' | sort)"
equal "network ls filters its own" "back bridge local" \
    "$(docker network ls -f type=custom --format '{{.Name}} {{.Driver}} {{.Scope}}')"
matches "network ls has docker's columns" '^NETWORK ID +NAME +DRIVER +SCOPE' "$(docker network ls)"
matches "network inspect tells addresses" '^[0-9.]+/[0-9]+ [0-9.]+$' \
    "$(docker network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}' back)"
fails "a missing network is not inspected" 1 "nosuch" docker network inspect nosuch
fails "one that is always there stays" 1 "pre-defined" docker network rm host
fails "a container in no network there is fails" 125 "network nosuch not found" docker run --rm --network nosuch minimal true
docker run -d --network back --name web --network-alias www -p 127.0.0.1:$PORT:80 minimal sh -c "$serve" > id
docker run --rm --network back minimal sh -c "for name in web www $(cut -c 1-12 id) web.back; do ($(fetch '$name')); done" > seen
equal "a container is reached by name" "served" "$(sed -n 1p seen)"
equal "and by alias" "served" "$(sed -n 2p seen)"
equal "and by the beginning of its id" "served" "$(sed -n 3p seen)"
equal "and by name and network" "served" "$(sed -n 4p seen)"
equal "a published port leads in" "served" "$(wget -qO- http://127.0.0.1:$PORT/page)"
equal "port tells it" "80/tcp -> 127.0.0.1:$PORT" "$(docker port web)"
equal "port tells one" "127.0.0.1:$PORT" "$(docker port web 80)"
fails "port tells what is not published" 1 "81/tcp" docker port web 81
equal "ps tells ports" "127.0.0.1:$PORT->80/tcp" "$(docker ps --format '{{.Ports}}')"
equal "ps tells networks" "back" "$(docker ps --format '{{.Networks}}')"
equal "ps filters by network" "web" "$(docker ps -f network=back --format '{{.Names}}')"
equal "inspect tells the mode" "back" "$(docker inspect -f '{{.HostConfig.NetworkMode}}' web)"
equal "inspect tells host ports" "$PORT" \
    "$(docker inspect -f '{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}}' web)"
address=$(docker inspect -f '{{.NetworkSettings.Networks.back.IPAddress}}' web)
equal "the address is the container's" "served" "$(docker run --rm --network back minimal sh -c "$(fetch "$address")")"
equal "network inspect tells who is there" "web $address" \
    "$(docker network inspect -f '{{range .Containers}}{{.Name}} {{slice .IPv4Address 0 '"${#address}"'}}{{end}}' back)"
contains "the hosts file has it" "$address" "$(docker exec web cat /etc/hosts)"
fails "a network in use is not removed" 1 "has active endpoints" docker network rm back
equal "the network of another container is shared" "served" \
    "$(docker run --rm --network container:web minimal sh -c "$(fetch 127.0.0.1)")"
docker network create --subnet 10.231.7.0/24 front > /dev/null
docker run -d --name two --network front --ip 10.231.7.9 minimal sleep 300 > /dev/null
equal "--ip is the address" "10.231.7.9" "$(docker inspect -f '{{.NetworkSettings.Networks.front.IPAddress}}' two)"
fails "another network is not reached" 1 "" docker exec two ping -c 1 -W 1 "$address"
succeeds "network connect" docker network connect --alias other back two
succeeds "now it is" docker exec two ping -c 1 -W 2 web
succeeds "and the other way, by alias" docker exec web ping -c 1 -W 2 other
fails "connected twice" 1 "already exists in network back" docker network connect back two
succeeds "network disconnect" docker network disconnect back two
fails "then it is not reached any more" 1 "" docker exec two ping -c 1 -W 1 "$address"
fails "disconnected twice" 1 "is not connected to" docker network disconnect back two
succeeds "restart keeps the network" docker restart -t 0 web
equal "and the port" "served" "$(for i in 1 2 3 4 5 6 7 8 9; do wget -qO- http://127.0.0.1:$PORT/page && break; sleep 0.3; done)"
docker rm -f web two > /dev/null
equal "network rm prints names" "back
front" "$(docker network rm back front)"
docker network create --internal inner > /dev/null
equal "network inspect tells that it is internal" "true" "$(docker network inspect -f '{{.Internal}}' inner)"
contains "network prune tells what it removes" "inner" "$(docker network prune -f)"
docker network create unused > /dev/null
docker volume create > name
contains "system prune tells which networks it removes" "unused" "$(docker system prune -f --volumes)"
fails "and has removed them" 1 "unused" docker network inspect unused
fails "and volumes that have no name" 1 "o such volume" docker volume inspect "$(cat name)"
docker network create --label keep=no unused > /dev/null
lacks "system prune filters" "unused" "$(docker system prune -f --filter label=keep=yes)"
contains "by label" "unused" "$(docker system prune -f --filter label=keep=no)"
