puts "ruby #{ENV.fetch('RACK_ENV')} #{Process.uid.positive?}"
