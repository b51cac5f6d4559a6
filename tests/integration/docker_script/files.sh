# The files of containers: cp, diff, commit, import, export, sizes.
. "$LIB"

docker create --name box -u alice -e A=1 minimal sleep 1000 > /dev/null
mkdir -p tree/sub && echo text > tree/sub/file && ln -s sub/file tree/link && ln tree/sub/file tree/again
echo one > one

# -- cp into one that was never started
succeeds "cp puts a file under a new name" docker cp one box:/srv/first
succeeds "cp puts a file into a directory" docker cp one box:/srv
succeeds "cp puts a directory into a directory" docker cp tree box:/srv
succeeds "cp puts a directory under a new name" docker cp tree box:/srv/named
succeeds "cp puts what is in a directory" docker cp tree/. box:/home
succeeds "cp replaces a file" docker cp one box:/srv/page
succeeds "cp puts a file whose name begins with a dot" docker cp one box:/srv/.hidden
equal "it keeps the dot" "one" "$(docker cp box:/srv/.hidden - | tar xO)"
fails "a directory does not replace a file" 1 "cannot copy directory" docker cp tree box:/srv/page
fails "a file with a slash is a directory" 1 "no such directory" docker cp one box:/srv/none/
fails "a missing parent is told" 1 "/none" docker cp one box:/none/x
fails "a missing source is told" 1 "no such file or directory" docker cp nosuch box:/srv
fails "a source with a slash is a directory" 1 "not a directory" docker cp one/ box:/srv
fails "one end is a container" 1 "must specify at least one container source" docker cp one two
fails "a container that is not there is told" 1 "No such container" docker cp one nosuch:/srv
equal "what was copied before a start is there, with its links" "one text sub/file 2" \
    "$(docker start box > /dev/null && docker exec box sh -c \
        'echo $(cat /srv/page) $(cat /srv/named/link) $(readlink /home/link) $(stat -c %h /srv/tree/again)')"

# -- cp into one that runs
succeeds "cp into a running container" docker cp one box:/srv/again
equal "it is seen at once" "one" "$(docker exec box cat /srv/again)"
equal "a file keeps its numbers of user and group" "$(id -u):$(id -g)" "$(docker exec box stat -c %u:%g /srv/again)"
docker exec -u 0 box sh -c 'mkdir /in && ln -s /in /srv/into && ln -s /srv/leads-to /srv/broken'
succeeds "cp follows a link to a directory" docker cp one box:/srv/into
equal "it went where the link leads" "one" "$(docker exec box cat /in/one)"
succeeds "cp follows a link to what is not there yet" docker cp one box:/srv/broken
equal "it was made there" "one" "$(docker exec box cat /srv/leads-to)"
tar -C tree -c . > tree.tar
succeeds "cp - unpacks a tar" sh -c 'docker cp - box:/in < tree.tar'
equal "it is there" "text" "$(docker exec box cat /in/sub/file)"
gzip -k tree.tar
succeeds "cp - unpacks a compressed tar" sh -c 'docker cp - box:/in < tree.tar.gz'
fails "cp - needs a directory" 1 "must be a directory" sh -c 'docker cp - box:/srv/again < tree.tar'
docker exec -u 0 box mkdir -p /over/one /over/sub
fails "a directory is not overwritten by a file" 1 "cannot overwrite directory" docker cp one box:/over
docker exec -u 0 box sh -c 'echo f > /in/tree'
fails "a file is not overwritten by a directory" 1 "cannot overwrite non-directory" docker cp tree box:/in

# -- cp out
succeeds "cp takes a file under a new name" docker cp box:/srv/again out
equal "its content is the same" "one" "$(cat out)"
equal "it is mine" "$(id -u)" "$(stat -c %u out)"
succeeds "cp takes a directory" docker cp box:/srv/tree copy
equal "it has all of it" "$(cd tree && find . | sort)" "$(cd copy && find . | sort)"
equal "hard links are hard links" "2" "$(stat -c %h copy/again)"
mkdir into
succeeds "cp takes a directory into one that is there" docker cp box:/srv/tree into
equal "it has its name there" "text" "$(cat into/tree/sub/file)"
succeeds "cp takes what is in a directory" docker cp box:/srv/tree/. into
equal "it has no name there" "text" "$(cat into/sub/file)"
succeeds "cp takes a link" docker cp box:/srv/tree/link link
equal "it is a link" "sub/file" "$(readlink link)"
succeeds "cp -L takes what a link leads to" docker cp -L box:/srv/tree/link followed
equal "it is a file" "text" "$(cat followed)"
equal "cp writes a tar" "tree/ tree/again tree/link tree/sub/ tree/sub/file" \
    "$(echo $(docker cp box:/srv/tree - | tar t | sort))"
equal "cp writes a tar of what is in a directory" "./ ./again ./link ./sub/ ./sub/file" \
    "$(echo $(docker cp box:/srv/tree/. - | tar t | sort))"
fails "a missing file is told" 1 "/none" docker cp box:/none .
fails "a missing directory here is told" 1 "invalid output path" docker cp box:/srv/page nodir/x
fails "a file that is not a directory is told" 1 "ot a directory" docker cp box:/srv/page/x .
fails "a directory does not replace a file here" 1 "cannot copy directory" docker cp box:/srv/tree one
fails "a device is not a place for a copy" 1 "must be a directory or a regular file" docker cp box:/srv/page /dev/null
docker stop -t 0 box > /dev/null
succeeds "cp takes from one that ended" docker cp box:/srv/leads-to ended
equal "what was written while it ran is there" "one" "$(cat ended)"
succeeds "cp puts into one that ended" docker cp one box:/srv/late
equal "container cp is the same" "one" "$(docker container cp box:/srv/late - | tar xO)"

# -- mounts
mkdir bound
docker create --name mounts -v "$PWD/bound:/bound" -v "$PWD/bound:/locked:ro" -v fv:/kept minimal sleep 1000 > /dev/null
succeeds "cp into a bind mount" docker cp one mounts:/bound
equal "it is here" "one" "$(cat bound/one)"
fails "a read-only mount is refused" 1 "volume is marked read-only" docker cp one mounts:/locked
succeeds "cp into a volume" docker cp one mounts:/kept
equal "others that have it see it" "one" "$(docker run --rm -v fv:/v minimal cat /v/one)"
docker create --name locked --read-only minimal sleep 1000 > /dev/null
fails "a read-only root is refused" 1 "container rootfs is marked read-only" docker cp one locked:/srv
docker rm mounts locked > /dev/null
docker volume rm fv > /dev/null

# -- diff
docker run --name changed minimal sh -c 'echo new > /new; echo x >> /srv/page; mkdir -p /d/e; rm /etc/os-release'
equal "diff tells what was added, changed and deleted" "A /d|A /d/e|A /new|C /etc|C /srv|C /srv/page|D /etc/os-release|" \
    "$(docker diff changed | sort | tr '\n' '|')"
docker run --name quiet minimal true
equal "diff of nothing is nothing" "" "$(docker container diff quiet)"
fails "diff of what is not there" 1 "No such container" docker diff nosuch

# -- commit
matches "commit prints an id" '^sha256:[0-9a-f]{64}$' "$(docker commit -a me -m note -c 'ENV B=2' -c 'CMD ["cat", "/new"]' changed made:1)"
equal "the image has what was changed" "new" "$(docker run --rm made:1)"
equal "it lacks what was deleted" "gone" "$(docker run --rm made:1 sh -c '[ -e /etc/os-release ] || echo gone')"
equal "it is configured" '["cat","/new"] me note' \
    "$(docker inspect -f '{{json .Config.Cmd}} {{.Author}} {{.Comment}}' made:1)"
docker commit box boxed > /dev/null
equal "a container's configuration is its image's" 'alice ["sleep","1000"]' \
    "$(docker inspect -f '{{.Config.User}} {{json .Config.Cmd}}' boxed)"
contains "its variables are the image's" '"A=1"' "$(docker inspect -f '{{json .Config.Env}}' boxed)"
equal "what was copied in is in the image" "one" "$(docker run --rm boxed cat /srv/late)"
docker start box > /dev/null
succeeds "commit of one that runs" docker commit box running
equal "it goes on" "running" "$(docker inspect -f '{{.State.Status}}' box)"
fails "commit knows its instructions" 1 "run is not a valid change command" docker commit -c 'RUN x' box no
docker commit -c 'ENTRYPOINT ["echo", "entry"]' quiet entry > /dev/null
equal "an entry point replaces the command" "entry" "$(docker run --rm entry)"

# -- export and import
docker export -o whole.tar changed
contains "export has the image's files" "bin/busybox" "$(tar tf whole.tar)"
contains "export has what was added" "d/e/" "$(tar tf whole.tar)"
lacks "export lacks what was deleted" "etc/os-release" "$(tar tf whole.tar)"
contains "export of one that runs" "srv/late" "$(docker export box | tar t)"
matches "import prints an id" '^sha256:[0-9a-f]{64}$' "$(docker import -c 'CMD ["cat", "/new"]' whole.tar flat:1)"
equal "the image runs" "new" "$(docker run --rm flat:1)"
equal "import reads stdin" "1" "$(docker import - flat:2 < whole.tar > /dev/null; docker inspect -f '{{len .RootFS.Layers}}' flat:2)"
equal "an image says where it came from" "Imported from -" "$(docker inspect -f '{{.Comment}}' flat:2)"
equal "import -m says something else" "note" \
    "$(docker import -m note - flat:3 < whole.tar > /dev/null; docker inspect -f '{{.Comment}}' flat:3)"
gzip whole.tar
succeeds "import reads a compressed archive" docker image import whole.tar.gz flat:4
equal "it is the same" "new" "$(docker run --rm flat:4 cat /new)"

# -- sizes
docker run --name sized minimal sh -c 'head -c 5000 /dev/zero > /five'
equal "inspect -s tells what was written" "5000" "$(docker inspect -s -f '{{.SizeRw}}' sized)"
succeeds "inspect -s tells the whole" [ "$(docker inspect -s -f '{{.SizeRootFs}}' sized)" -gt 100000 ]
matches "ps -s tells both" '5kB \(virtual [0-9.]+MB\)' "$(docker ps -as --filter name=sized)"
matches "ps tells them in a template" '^5kB \(virtual ' "$(docker ps -a --filter name=sized --format '{{.Size}}')"

docker rm -f box changed quiet sized > /dev/null
docker rmi -f made:1 boxed running entry flat:1 flat:2 flat:3 flat:4 > /dev/null
