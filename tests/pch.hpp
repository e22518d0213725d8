// The precompiled header of all tests: that of the shells, and GoogleTest.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/pch.hpp"
