<?php
echo "php ", json_encode(["lunch" => true]), "\n";
