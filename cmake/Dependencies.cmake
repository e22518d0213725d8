# Imported targets for what Debian 12 gives. scripts/install-deps installs them.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(mpath_pkg name)
  pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${ARGN})
  add_library(dep_${name} INTERFACE)
  target_link_libraries(dep_${name} INTERFACE PkgConfig::${name})
  add_library(dep::${name} ALIAS dep_${name})
endfunction()

find_package(Boost 1.81 REQUIRED)
add_library(dep_asio INTERFACE)
# One io_context a thread. BOOST_ASIO_NO_DEPRECATED keeps 1.81's old spellings out.
target_compile_definitions(dep_asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_DISABLE_BOOST_DATE_TIME)
target_link_libraries(dep_asio INTERFACE Boost::headers Threads::Threads)
add_library(dep::asio ALIAS dep_asio)

mpath_pkg(fmt fmt)
mpath_pkg(udev libudev)
mpath_pkg(sqlite sqlite3)
mpath_pkg(nlroute libnl-route-3.0 libnl-3.0)
mpath_pkg(nlgenl libnl-genl-3.0 libnl-3.0)
mpath_pkg(systemd libsystemd)
mpath_pkg(edit libedit)
mpath_pkg(openssl libcrypto)
mpath_pkg(uring liburing)

find_package(nlohmann_json REQUIRED)
add_library(dep_json INTERFACE)
target_link_libraries(dep_json INTERFACE nlohmann_json::nlohmann_json)
add_library(dep::json ALIAS dep_json)

find_package(CLI11 REQUIRED)
add_library(dep_cli INTERFACE)
target_link_libraries(dep_cli INTERFACE CLI11::CLI11)
add_library(dep::cli ALIAS dep_cli)

find_library(ISAL_LIBRARY isal REQUIRED)
add_library(dep_isal INTERFACE)
target_link_libraries(dep_isal INTERFACE ${ISAL_LIBRARY})
add_library(dep::isal ALIAS dep_isal)

if(MPATH_TESTS)
  find_package(GTest REQUIRED)
  add_library(dep_gtest INTERFACE)
  target_link_libraries(dep_gtest INTERFACE GTest::gmock GTest::gtest_main)
  add_library(dep::gtest ALIAS dep_gtest)
endif()
